Feature: Recording

  T new positions, S all positions that were read so far.

  @recording.every_checkpoint
  Scenario: Every checkpoint is shown under its name
    When calls of 4, 3, 1 and 1 tokens are recorded
    Then each call shows these checkpoints, and no others
      | checkpoint       |
      | ids              |
      | embed            |
      | h.N.ln_1         |
      | h.N.attn.q       |
      | h.N.attn.k       |
      | h.N.attn.v       |
      | h.N.attn.keys    |
      | h.N.attn.values  |
      | h.N.attn.scores  |
      | h.N.attn.probs   |
      | h.N.attn.context |
      | h.N.attn.out     |
      | h.N.mid          |
      | h.N.ln_2         |
      | h.N.mlp.fc       |
      | h.N.mlp.act      |
      | h.N.mlp.out      |
      | h.N.out          |
      | ln_f             |
      | logits           |

  @recording.shapes_of_the_contract
  Scenario: Every checkpoint has its shape
    When calls of 4, 3, 1 and 1 tokens are recorded
    Then the checkpoints of each call have these shapes
      | checkpoint       | shape                 |
      | ids              | [T]                   |
      | embed            | [T, n_embd]           |
      | h.N.ln_1         | [T, n_embd]           |
      | h.N.attn.q       | [n_head, T, head_dim] |
      | h.N.attn.k       | [n_head, T, head_dim] |
      | h.N.attn.v       | [n_head, T, head_dim] |
      | h.N.attn.keys    | [n_head, S, head_dim] |
      | h.N.attn.values  | [n_head, S, head_dim] |
      | h.N.attn.scores  | [n_head, T, S]        |
      | h.N.attn.probs   | [n_head, T, S]        |
      | h.N.attn.context | [T, n_embd]           |
      | h.N.attn.out     | [T, n_embd]           |
      | h.N.mid          | [T, n_embd]           |
      | h.N.ln_2         | [T, n_embd]           |
      | h.N.mlp.fc       | [T, n_inner]          |
      | h.N.mlp.act      | [T, n_inner]          |
      | h.N.mlp.out      | [T, n_embd]           |
      | h.N.out          | [T, n_embd]           |
      | ln_f             | [T, n_embd]           |
      | logits           | [T, n_vocab]          |

  @recording.shapes_of_the_contract
  Scenario: Of each prompt in a batch its own last row is shown
    When the last positions of prompts of 5, 3 and 4 tokens are recorded in one batch
    Then ln_f and logits are shown of each prompt, one row, as it has them alone

  @recording.copies_to_keep
  Scenario: What was recorded stays as it was
    When calls of 4, 3, 1 and 1 tokens are recorded
    Then at the end every bit of every call is what it was right after that call

  @recording.copies_to_keep
  Scenario: Writing into what was recorded does not reach the engine
    When calls of 4, 3, 1 and 1 tokens are recorded, and each tensor is overwritten at once
    Then every bit of the logits is that of calls that nobody recorded

  @recording.order_of_positions
  Scenario: Rows stand in the order of the ids
    When calls of 4, 3, 1 and 1 tokens are recorded
    Then row by row, ids and embed are those of calls of one token each
    And row by row, the keys and values of a call are the k and v of the calls so far

  @recording.every_call
  Scenario: The prompt, a chunk and single tokens are recorded
    When calls of 4, 3, 1 and 1 tokens are recorded
    Then the record holds every call, with its ids in their order
