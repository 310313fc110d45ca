"""The modules behind scripts/prove_nshot.py: does N-shot pay?"""
