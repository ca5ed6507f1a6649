"""How well a bundle sees the few labelled real images of the project's test data.

``images`` says which files those are, ``measure`` judges every route on them beside what needs no
model, ``verdicts`` says what is beaten, ``tables`` writes it down and ``sheets`` draws it.
"""
