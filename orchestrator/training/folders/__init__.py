"""What lies in a data folder, told by names and first bytes; no image is decoded here."""
