"""What the evidence comes to, and what people decide about it: verdict and register of exceptions."""
