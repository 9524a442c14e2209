"""The dashboard page at `/`, a live view of the gateway.

Its data is plain JSON; its front end is built from the folder `page`.
"""
