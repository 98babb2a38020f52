"""Steps, one a file: open the data, call a kernel, write back, record; no numerics."""
