"""From stored features to what a model is given: parts of a fold, padded batches, normalisers."""
