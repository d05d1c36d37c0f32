"""Reports: the reconciliation as JSON for programs and as one self-contained HTML file for people."""
