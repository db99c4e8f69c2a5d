"""``praxiscope serve``: a recogniser behind a page in the browser and a JSON API.

The server's process reads no video and imports no torch. Videos are read in child processes: `praxiscope.serve.probe`
looks at uploads, `praxiscope.serve.work` holds the network. What they send is JSON.
"""
