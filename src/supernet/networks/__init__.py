"""Where a supernet comes from: ready spaces, and networks made elastic."""
