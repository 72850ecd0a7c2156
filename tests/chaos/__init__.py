"""Operations on a cluster of stand-in observers, and all that goes wrong meanwhile.

Everything that happens is drawn from a seed before it begins (``plans``); what then must hold is
in ``invariants``. ``python -m chaos`` runs many rounds, ``make chaos`` does.
"""
