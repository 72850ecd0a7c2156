"""Operations on a cluster of real agents, and all that goes wrong meanwhile.

Everything that happens is drawn from a seed before it begins (``drawing``, in the words of
``plans``); what then must hold is in ``invariants``, and what an operation may rightly fail for in
``obstacles``. ``python -m chaos`` runs many rounds, ``make chaos`` does: on stand-in observers
(``observers``) or on seekdb servers (``seekdbs``).
"""
