"""Sources of supernets: ready spaces, and networks made elastic."""
