"""What the gateway adds: CPU time, latency and memory beside other gateways and a bare reverse proxy, and whether it lasts."""
