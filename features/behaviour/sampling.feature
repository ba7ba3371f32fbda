Feature: From a row of logits to a token

  One uniform number between 0 and 1, of PCG64 made from the seed, is taken for each token: the token is
  the first whose cumulative probability, in ascending order of ids, exceeds it.

  @sampling.steps_in_order
  Scenario: Temperature comes before top-p
    A temperature of 2 makes the odds 4 : 2 : 1 of 16 : 4 : 1. The first token has 4 of 7 parts, less than
    0.7, so that two are kept; before temperature it would have 16 of 21, and be kept alone.

    When 50 tokens are drawn
      | setting     | value                |
      | logits      | [log(16), log(4), 0] |
      | temperature | 2                    |
      | top_p       | 0.7                  |
      | seed        | 1                    |
    Then the draws have the probabilities [4/6, 2/6, 0]

  @sampling.steps_in_order
  Scenario: Top-p counts what top-k has left
    Of 4 and 3 alone the first has 4 of 7 parts, more than a half; of all ten parts it has 4.

    When 50 tokens are drawn
      | setting | value                         |
      | logits  | [log(4), log(3), log(2), 0]   |
      | top_k   | 2                             |
      | top_p   | 0.5                           |
      | seed    | 1                             |
    Then the draws have the probabilities [1, 0, 0, 0]

  @sampling.steps_in_order
  Scenario: The penalty comes before top-p
    The penalty of 2 makes log(16) log(4): odds of 4 : 4 : 1, so that a half needs two tokens.

    When 50 tokens are drawn
      | setting            | value                |
      | logits             | [log(16), log(4), 0] |
      | previous           | [0]                  |
      | repetition_penalty | 2                    |
      | top_p              | 0.5                  |
      | seed               | 1                    |
    Then the draws have the probabilities [1/2, 1/2, 0]

  @sampling.settings_honoured
  Scenario Outline: One setting of <setting> <value> acts on the odds 1 : 2 : 4
    When 50 tokens are drawn
      | setting   | value                |
      | logits    | [0, log(2), log(4)]  |
      | previous  | [2, 0, 2]            |
      | <setting> | <value>              |
      | seed      | 3                    |
    Then the draws have the probabilities <probabilities>

    Examples:
      | setting            | value | probabilities      |
      | temperature        | 0.5   | [1/21, 4/21, 16/21] |
      | top_k              | 2     | [0, 2/6, 4/6]      |
      | top_p              | 0.8   | [0, 2/6, 4/6]      |
      | repetition_penalty | 2     | [1/5, 2/5, 2/5]    |

  @sampling.settings_honoured
  Scenario: Without a penalty used tokens keep their odds, however large their logits
    When 50 tokens are drawn
      | setting  | value              |
      | logits   | [1000, 1000, 1000] |
      | previous | [2, 0, 2]          |
      | seed     | 3                  |
    Then the draws have the probabilities [1/3, 1/3, 1/3]

  @sampling.settings_honoured
  Scenario: Without settings each of a thousand tokens keeps its share
    log(1000) has a half beside a thousand times 0, which have 1 of 2000 parts each: a temperature of 1.001
    would move the parts of the others by three tokens.

    When 50 tokens are drawn
      | setting | value                          |
      | logits  | log(1000) * (arange(1001) < 1) |
      | seed    | 3                              |
    Then the draws have the probabilities where(arange(1001) < 1, 1/2, 1/2000)

  @sampling.seed_decides
  Scenario Outline: The seed <seed> decides which tokens are drawn
    When 50 tokens are drawn
      | setting | value               |
      | logits  | [0, log(2), 0]      |
      | seed    | <seed>              |
    Then the draws have the probabilities [1/4, 2/4, 1/4]

    Examples:
      | seed |
      | 0    |
      | 7    |

  @sampling.fresh_seed
  Scenario: Without a seed every sampler has its own
    When 5 samplers are made without a seed
    Then they have 5 seeds

  @sampling.fresh_seed
  Scenario: Fresh seeds fill 64 bits
    A bit that is drawn sixty times is the same each time once in 2 to the 59.

    When 60 samplers are made without a seed
    Then each of 64 bits is set in some of their seeds, and clear in others

  @sampling.fresh_seed_told
  Scenario: A fresh seed that is asked for gives the same tokens
    Of twenty fresh seeds of more than 64 bits one at least would be refused.

    When 20 samplers without a seed draw 20 tokens of 50 alike, and are asked for again
    Then no seed that they told is refused, and each of them gives the same tokens

  @sampling.settings_in_range
  Scenario Outline: A <setting> of <value> is refused before any token is chosen
    When a sampler is asked for with <setting> = <value>
    Then the caller gets a refusal

    Examples:
      | setting            | value                |
      | temperature        | -0.5                 |
      | temperature        | nan                  |
      | temperature        | inf                  |
      | top_k              | -1                   |
      | top_p              | 0                    |
      | top_p              | 1.01                 |
      | repetition_penalty | 0                    |
      | repetition_penalty | -1                   |
      | repetition_penalty | inf                  |
      | seed               | -1                   |
      | seed               | 18446744073709551616 |

  @sampling.zero_is_greedy
  Scenario: A temperature of 0 draws nothing
    When 50 tokens are drawn
      | setting     | value        |
      | logits      | [1, 2, 3, 2] |
      | temperature | 0            |
      | seed        | 1            |
    Then the draws have the probabilities [0, 0, 1, 0]

  @sampling.lowest_id_of_equals
  Scenario: Of three equal logits the lowest id is chosen every time
    When 50 tokens are drawn
      | setting     | value           |
      | logits      | [1, 9, -1, 9, 9] |
      | temperature | 0               |
      | seed        | 1               |
    Then the draws have the probabilities [0, 1, 0, 0, 0]

  @sampling.only_the_vocabulary
  Scenario Outline: No id past the vocabulary is chosen where all logits are negative, at temperature <temperature>
    When 50 tokens are drawn
      | setting     | value                            |
      | logits      | [-30, -30 + log(2), -30 + log(5)] |
      | temperature | <temperature>                    |
      | seed        | 1                                |
    Then the draws have the probabilities <probabilities>

    Examples:
      | temperature | probabilities   |
      | 0           | [0, 0, 1]       |
      | 1           | [1/8, 2/8, 5/8] |

  @sampling.not_a_number_refused
  Scenario Outline: A row that holds NaN is refused at temperature <temperature>
    When a token is chosen of 3 logits, one of them NaN, at temperature <temperature>
    Then the caller gets a refusal

    Examples:
      | temperature |
      | 0           |
      | 1           |
