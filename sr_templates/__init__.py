"""The vocabulary: coded terms, and the structured report built from them."""
