"""Puts the folder of the PyTorch twins (dabnet.py, dgmn2.py) into the module path: SEGRT_PEER, or ../shared/peer beside the repository."""
import os
import sys

sys.path.insert(0, os.environ.get("SEGRT_PEER", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shared", "peer")))
