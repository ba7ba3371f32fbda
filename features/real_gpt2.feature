Feature: The real GPT-2

  The weights cannot be carried along. Where LLORCH_GPT2 names the folder that holds gpt2/, gpt2-medium/
  and so on, in the Hugging Face layout, these scenarios run; elsewhere they are not run, by name.

  @gpt2.real_weights_write_what_was_published
  Scenario Outline: The real weights continue a text as others have published
    Given the real weights of <model>
    When "<prompt>" is continued greedily by <count> tokens
    Then the whole text is "<text>"

    Examples: huggingface/transformers, tests/models/gpt2/test_modeling_gpt2.py
      | model | prompt                    | count | text                                                                |
      | gpt2  | Hello, my dog is a little | 13    | Hello, my dog is a little bit of a mess. I'm not sure if he's going |
      | gpt2  | Today, I                  | 13    | Today, I'm going to be doing a lot of research on this. I           |

    Examples: jaymody/picoGPT, README
      | model | prompt                                                    | count | text |
      | gpt2  | Alan Turing theorized that computers would one day become | 40    | Alan Turing theorized that computers would one day become the most powerful machines on the planet.\n\nThe computer is a machine that can perform complex calculations, and it can perform these calculations in a way that is very similar to the human brain.\n |

    Examples: huggingface/blog, how-to-generate
      | model | prompt                           | count | text |
      | gpt2  | I enjoy walking with my cute dog | 40    | I enjoy walking with my cute dog, but I'm not sure if I'll ever be able to walk with my dog. I'm not sure if I'll ever be able to walk with my dog.\n\nI'm not sure |

    Examples: tinygrad/tinygrad, test of GPT-2
      | model       | prompt                                                    | count | text |
      | gpt2-medium | What is the answer to life, the universe, and everything? | 10    | What is the answer to life, the universe, and everything?\n\nThe answer is that we are all one |
      | gpt2-medium | Hello.                                                    | 10    | Hello. I'm a little late to the party, but |

  # A model of the shape of GPT-2 (124M) with seeded random weights: all that does not depend on training.
  # It is the model on trial in these scenarios, and the steps are those of the small one.

  @gpt2.full_size
  Scenario: At full size each checkpoint has the shape that GPT-2 (124M) gives it
    Given random weights of the shape of GPT-2 (124M)
    When calls of 4, 3 and 1 tokens are recorded
    Then each call shows these checkpoints in these shapes, and no others
      | checkpoint       | 4 tokens    | 3 tokens    | 1 token     |
      | ids              | [4]         | [3]         | [1]         |
      | embed            | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.ln_1         | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.attn.q       | [12, 4, 64] | [12, 3, 64] | [12, 1, 64] |
      | h.N.attn.k       | [12, 4, 64] | [12, 3, 64] | [12, 1, 64] |
      | h.N.attn.v       | [12, 4, 64] | [12, 3, 64] | [12, 1, 64] |
      | h.N.attn.keys    | [12, 4, 64] | [12, 7, 64] | [12, 8, 64] |
      | h.N.attn.values  | [12, 4, 64] | [12, 7, 64] | [12, 8, 64] |
      | h.N.attn.scores  | [12, 4, 4]  | [12, 3, 7]  | [12, 1, 8]  |
      | h.N.attn.probs   | [12, 4, 4]  | [12, 3, 7]  | [12, 1, 8]  |
      | h.N.attn.context | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.attn.out     | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.mid          | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.ln_2         | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.mlp.fc       | [4, 3072]   | [3, 3072]   | [1, 3072]   |
      | h.N.mlp.act      | [4, 3072]   | [3, 3072]   | [1, 3072]   |
      | h.N.mlp.out      | [4, 768]    | [3, 768]    | [1, 768]    |
      | h.N.out          | [4, 768]    | [3, 768]    | [1, 768]    |
      | ln_f             | [4, 768]    | [3, 768]    | [1, 768]    |
      | logits           | [4, 50257]  | [3, 50257]  | [1, 50257]  |

  @gpt2.full_size
  Scenario: At full size each checkpoint follows its equation
    Given random weights of the shape of GPT-2 (124M)
    When the model reads a prompt, a chunk and single tokens
    Then every element keeps to the equations

  @gpt2.full_size
  Scenario: At full size each checkpoint agrees with the oracle, from the ids alone
    Given random weights of the shape of GPT-2 (124M)
    When the model reads a prompt, a chunk and single tokens
    Then every checkpoint agrees with the oracle

  @gpt2.full_size
  Scenario: At full size another token changes every row from there on, and no bit of the rows before it
    Given random weights of the shape of GPT-2 (124M)
    And a sequence of 7 tokens
    When each token in turn is exchanged for another
    Then no earlier row of any checkpoint changes a bit
    And every row of logits from that token on changes

  @gpt2.full_size
  Scenario: At full size a prompt may be read at once, in chunks, and token by token
    Given random weights of the shape of GPT-2 (124M)
    And a sequence of 12 tokens
    When it is read at once, in chunks, and token by token
    Then every row of logits is the same to rounding

  @gpt2.full_size
  Scenario: At full size a prompt in a batch is a prompt alone
    Given random weights of the shape of GPT-2 (124M)
    When prompts of 5, 3, 9 and 1 tokens are read as one batch
    Then each prompt gets the logits that it gets alone, to rounding

  @gpt2.full_size
  Scenario: At full size the same sequence gives the same bits twice
    Given random weights of the shape of GPT-2 (124M)
    And a sequence of 9 tokens
    When it is read twice
    Then every bit of every checkpoint is the same

  @gpt2.full_size
  Scenario: At full size an observer changes no bit
    Given random weights of the shape of GPT-2 (124M)
    And a sequence of 10 tokens
    When it is read with and without an observer
    Then every bit of the logits of each call is the same

  @gpt2.full_size
  Scenario: At full size there are as many parameters, and generating needs little more memory than they do
    Given random weights of the shape of GPT-2 (124M)
    When the model generates 8 tokens in a process of its own
    Then it has 124439808 parameters, and 600 MiB were enough
