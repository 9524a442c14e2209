"""The page at `/`: a live picture of the channel. What it shows is plain JSON; its looks are built from the folder `page`."""
