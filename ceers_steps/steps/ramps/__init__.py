"""What is done to ramps beside the Steps: the method of a step of jwst in less time."""
