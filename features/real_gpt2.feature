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

  @gpt2.full_size
  Scenario: A model of the shape of GPT-2 (124M) with random weights follows the equations
    Given random weights of the shape of GPT-2 (124M)
    When that model reads a prompt, and two tokens one by one
    Then every element keeps to the equations

  @gpt2.full_size
  Scenario: A model of the shape of GPT-2 (124M) has as many parameters, and needs little more memory than they do
    Given random weights of the shape of GPT-2 (124M)
    When that model generates 8 tokens in a process of its own
    Then it has 124439808 parameters, and 600 MiB were enough
