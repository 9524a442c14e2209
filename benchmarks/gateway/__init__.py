"""The gateway's overhead in CPU time, latency and memory, compared with other gateways and a bare reverse proxy; and its stability."""
