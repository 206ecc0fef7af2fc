"""What stores and brokers share to ask something outside of the process: bounded calls, and a connection to Redis."""
