"""A compiled way through linear ACE for one structure at a time, as in MD; optional.

The feature row and its gradients agree with those of the other way up to rounding; features of
training sets and Jacobians always take that one.
"""
