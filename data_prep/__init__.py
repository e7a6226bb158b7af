"""Data sets as Caffe's LMDBs: where they come from, how they are split, what was done.

`sources` finds and verifies the files, `idx` and `array_pickle` read their formats, `splits`
divides them, `lmdb_writer` writes them as Caffe does, `manifest` records it all, and one module
per data set (`mnist`) puts the steps together. `python -m data_prep mnist --out DIR` runs it.
"""
