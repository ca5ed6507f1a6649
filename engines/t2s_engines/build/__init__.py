"""``t2s-rt build``: from a bundle's graphs to TensorRT engines for this device.

Read in this order: ``plan`` (what will be built), ``dry_run`` and ``trtexec`` (showing it),
``builder`` with ``legacy`` (TensorRT itself), ``store`` (the cache, written), ``command``.
"""
