"""Price lists that are renewed: answers of providers, a gate that judges them, and where what passed is kept."""
