"""What the rest of a cluster does about what an operator applies: controllers, a scheduler, kubelets; on a script.

With a server: `with simulated(server, nodes=[node("a", gpus=2)], clock=ManualClock()) as simulation`. Then
`simulation.script.play(OutOfMemory(after=5), model="m")` says what happens to pods, `simulation.advance(60)` lets time
go by, and `simulation.settle()` returns when nothing is left to do. All of them work from any thread.
"""
