"""Float graphs in, explicit Q/DQ graphs out: ranges from scenes, precision layer by layer.

``samples`` chooses tiles, ``inputs`` shows them through the runtime's own preparation, ``layers``
says what can become int8, ``smoothing`` moves outliers from activations into weights, ``observe``
and ``histogram`` collect, ``ranges`` chooses, ``quantise`` writes the graph, ``judge`` compares it
with float32, ``search`` gives layers back to float until it is near enough, ``speed`` times it,
``bundle`` files it, ``run`` does all of it.
"""
