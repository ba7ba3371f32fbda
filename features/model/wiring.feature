Feature: The components make GPT-2

  @gpt2.norm_before_each_branch
  Scenario: Attention and the MLP read the normalised stream
    When the model reads a prompt, a chunk and single tokens
    Then h.N.ln_1, h.N.ln_2, h.N.attn.q, h.N.attn.k, h.N.attn.v and h.N.mlp.fc follow the equations

  @gpt2.stream_runs_through
  Scenario: Each branch is added to the raw stream
    When the model reads a prompt, a chunk and single tokens
    Then h.N.ln_2, h.N.mid and h.N.out follow the equations

  @gpt2.own_weights
  Scenario: Each block has its own weights and its own cache
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.q, h.N.attn.keys, h.N.attn.values, h.N.attn.out and h.N.mlp.out follow the equations

  @gpt2.values_are_mixed
  Scenario: The context is made of values
    When the model reads a prompt, a chunk and single tokens
    Then h.N.attn.context follow the equations

  @gpt2.final_norm
  Scenario: The last block is normalised before the head
    When the model reads a prompt, a chunk and single tokens
    Then ln_f and logits follow the equations

  @gpt2.end_to_end
  Scenario: Every checkpoint agrees with the oracle, from the ids alone
    When the model reads a prompt, a chunk and single tokens
    Then every checkpoint agrees with the oracle
