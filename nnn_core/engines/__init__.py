"""Vector engines: what each imports and how it scores, and the recipe by which it ranks by the debiased score."""
