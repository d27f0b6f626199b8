"""The composition root: an experiment becomes concrete parts, wired. The only room that knows them."""
