"""Inference over topics: requests come as messages of a broker (NATS, Kafka), and so do answers.

A client's protocol over HTTP knows one connection; here a request may outlive this process. So
each broker's shell owns when a message counts as handled, and everything between a message and its
answer is the same for both: `messages.py` reads it, `answering.py` asks the model.
"""
