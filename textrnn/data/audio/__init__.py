"""Recordings to log-mel frames. `recordings`: one recording; `sources`: files, folders and tables of them;
`augmentation`: changed copies for training. Needs the extra `audio`.
"""
