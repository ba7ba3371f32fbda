"""What tools/measure_server.py is made of: the wire, the figures, the servers, and what is done to them."""
