"""What can be set in the simulator: one frozen tree and its checks; nothing is simulated here."""
