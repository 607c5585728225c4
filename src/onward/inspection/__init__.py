"""How a store looks from outside, whatever it is: what every kind of store shows in the same words."""
