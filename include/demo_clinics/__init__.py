"""A legacy database of a group of clinics, made up, and the truth about every row in it."""
