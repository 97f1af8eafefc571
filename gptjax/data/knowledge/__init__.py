"""What a dictionary knows of pairs of words: WordNet's relations, as KIM used them."""
