"""Steps: open the data, call a kernel, write back, record what was done."""
