"""Networks of nnU-Net v2, run as nnunetv2 2.8.1 runs them.

Sources: Isensee et al., Nature Methods 18 (2021) 203-211, and the behaviour of nnunetv2 2.8.1
and dynamic_network_architectures 0.4.4 (Apache-2.0), against which results are compared in
docs/networks-fidelity.md. No code is taken from them.
"""
