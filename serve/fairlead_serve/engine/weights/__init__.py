"""Weights: from a URI to a complete local directory that an engine can load.

    hf://owner/name       the Hugging Face hub or a mirror, at a branch, tag or commit
    s3://bucket/prefix    S3 or anything that speaks it
    file:///abs/path      a directory of this machine, used where it lies
    pvc://claim/path      a directory of a mounted claim, used where it lies
    tiny://chat           made here, offline (also tiny://embed)

What is fetched or made lies in a cache directory that engines share; it appears there whole or not at all.
`store` puts the parts together: `uri` reads URIs, `hub` and `s3` list and read what is far away, `selection`
says which files an engine needs, `transfer` brings them here and resumes what broke off, `patience` says how
often and when to try again, `disk` turns a full disk into a sentence, `cache` is the only one that knows the
layout of the cache directory.
"""

from fairlead_serve.engine.weights.patience import Patience
from fairlead_serve.engine.weights.progress import Progress
from fairlead_serve.engine.weights.store import TinyMaker, WeightsStore

__all__ = ["Patience", "Progress", "TinyMaker", "WeightsStore"]
