"""What the benches are measured against, each a program of its own that ends with one line of JSON."""
