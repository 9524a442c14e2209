"""A signature, a chain of thought, a tool loop and embeddings: dspy with its engine "litellm"."""

import dspy

lm = dspy.LM("openai/gpt-sim", api_base=BASE, api_key="sim", cache=False, engine="litellm")
dspy.configure(lm=lm)
said = lm("Say hello")
assert said, said
ok("call")
assert lm.history[-1]["usage"]["total_tokens"] > 0
ok("usage")

predict = dspy.Predict("question -> answer")
with dspy.context(adapter=dspy.JSONAdapter()):
    assert isinstance(predict(question="What is a headrace?").answer, str)
ok("structured output")

vectors = dspy.Embedder("openai/embed-sim", api_base=BASE, api_key="sim")(["a", "b"])
assert len(vectors) == 2
ok("embeddings")

kept = dspy.LM("openai/gpt-sim", api_base=BASE, api_key="sim", cache=True, engine="litellm")
assert kept("The same") == kept("The same")
ok("dspy's cache")
