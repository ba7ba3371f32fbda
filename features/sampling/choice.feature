Feature: Choosing the next token

  @last_position.own_last_token
  Scenario: Each of two sequences is predicted from its own last token
    When last_position is given
      | input   | value                                      |
      | logits  | [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]  |
      | lengths | [2, 3]                                     |
    Then it returns [[3, 4], [9, 10]]

  @argmax.largest
  Scenario: The largest logit wins, also among negative ones
    When argmax is given logits = [-5, -9, -3, -4]
    Then it returns [2]

  @argmax.lowest_id_of_equals
  Scenario: Of three equal logits the lowest id wins
    When argmax is given logits = [3, 9, -1, 9, 9]
    Then it returns [1]

  @repetition_penalty.less_likely_on_both_sides
  Scenario: Used tokens become less likely, whatever the sign of their logit
    When repetition_penalty is given
      | input    | value          |
      | logits   | [2, -2, 4, -4] |
      | previous | [0, 1, 0]      |
      | penalty  | 2              |
    Then it returns [1, -4, 4, -4]

  @repetition_penalty.less_likely_on_both_sides
  Scenario: The sign decides, also of logits near 0
    When repetition_penalty is given
      | input    | value                     |
      | logits   | [0.5, -0.5, 0.25, 4]      |
      | previous | [2, 0, 1, 0]              |
      | penalty  | 2                         |
    Then it returns [0.25, -1, 0.125, 4]

  @repetition_penalty.only_used_tokens
  Scenario: Tokens that were not used keep their logits
    When repetition_penalty is given
      | input    | value           |
      | logits   | [8, 8, -8, -8]  |
      | previous | [3, 3, 1]       |
      | penalty  | 4               |
    Then it returns [8, 2, -8, -32]

  @temperature.divides
  Scenario: A temperature of a half doubles the logits
    When temperature is given
      | input       | value        |
      | logits      | [1, -2, 3]   |
      | temperature | 0.5          |
    Then scaled is [2, -4, 6]

  @temperature.probabilities_sum_to_one
  Scenario: A temperature of a half squares the odds
    The odds 1 : 2 : 3 become 1 : 4 : 9.

    When temperature is given
      | input       | value               |
      | logits      | [0, log(2), log(3)] |
      | temperature | 0.5                 |
    Then probabilities is [1/14, 4/14, 9/14]

  @temperature.probabilities_sum_to_one
  Scenario: Large logits do not overflow
    When temperature is given
      | input       | value           |
      | logits      | [800, 0, 800]   |
      | temperature | 0.5             |
    Then probabilities is [1/2, 0, 1/2]

  @top_k.exactly_k
  Scenario: Two of three equal logits are kept, those of the lowest ids
    When top_k is given
      | input  | value           |
      | logits | [5, 7, 7, 7, 1] |
      | k      | 2               |
    Then it returns [-inf, 7, 7, -inf, -inf]

  @top_k.exactly_k
  Scenario: One token is kept for k of 1
    When top_k is given
      | input  | value           |
      | logits | [5, 7, 8, 8, 1] |
      | k      | 1               |
    Then it returns [-inf, -inf, 8, -inf, -inf]

  @top_k.exactly_k
  Scenario: Beside a larger logit, one of three equals is kept
    When top_k is given
      | input  | value                    |
      | logits | [7, 1, 9, 7, 3, 7, 2, 5] |
      | k      | 2                        |
    Then it returns [7, -inf, 9, -inf, -inf, -inf, -inf, -inf]

  @top_k.exactly_k
  Scenario: Of a thousand, 1000 down to 1, the first three are kept
    When top_k is given
      | input  | value               |
      | logits | 1000 - arange(1000) |
      | k      | 3                   |
    Then it returns where(arange(1000) < 3, 1000 - arange(1000), -inf)

  @top_k.zero_keeps_all
  Scenario: A k of 0 keeps every token
    When top_k is given
      | input  | value           |
      | logits | [5, 7, 7, 7, 1] |
      | k      | 0               |
    Then it returns [5, 7, 7, 7, 1]

  @top_p.crossing_token_kept
  Scenario: The token with which the sum reaches p is kept
    The logits 3, 2, 1, 0 have 64, 24, 9 and 3 of 100 parts: 64 are not 70, and 88 are.

    When top_p is given
      | input  | value        |
      | logits | [0, 3, 1, 2] |
      | p      | 0.7          |
    Then it returns [-inf, 3, -inf, 2]

  @top_p.crossing_token_kept
  Scenario: A token that is likely enough is kept alone
    When top_p is given
      | input  | value        |
      | logits | [0, 3, 1, 2] |
      | p      | 0.3          |
    Then it returns [-inf, 3, -inf, -inf]

  @top_p.mass_of_what_is_left
  Scenario: Tokens that top-k forbade have no share
    Of 3 and 2 alone, the first has 73 of 100 parts: it reaches 70 by itself.

    When top_p is given
      | input  | value              |
      | logits | [-inf, 3, -inf, 2] |
      | p      | 0.7                |
    Then it returns [-inf, 3, -inf, -inf]

  @top_p.mass_of_what_is_left
  Scenario: Many small shares reach p together
    Each of eight has an eighth: five have 62.5 of 100 parts, six have 75.

    When top_p is given
      | input  | value                    |
      | logits | [2, 2, 2, 2, 2, 2, 2, 2] |
      | p      | 0.7                      |
    Then it returns [2, 2, 2, 2, 2, 2, -inf, -inf]

  @top_p.mass_of_what_is_left
  Scenario: Of equal tokens a half has a half, also where their shares are rounded
    No float is a ninety-eighth: 49 of 98 reach a half of the sum of all, not a half of 1.

    When top_p is given
      | input  | value          |
      | logits | 0 * arange(98) |
      | p      | 0.5            |
    Then it returns where(arange(98) < 49, 0, -inf)

  @top_p.mass_of_what_is_left
  Scenario: The sum runs from the likeliest token down
    When top_p is given
      | input  | value        |
      | logits | [0, 3, 1, 2] |
      | p      | 0.95         |
    Then it returns [-inf, 3, 1, 2]

  @top_p.honoured
  Scenario: A p of 1 keeps every token
    When top_p is given
      | input  | value        |
      | logits | [0, 3, 1, 2] |
      | p      | 1            |
    Then it returns [0, 3, 1, 2]

  @top_p.honoured
  Scenario: A p of 1 keeps a token whose share is lost in the sum
    When top_p is given
      | input  | value            |
      | logits | [0, 300, 1, 300] |
      | p      | 1                |
    Then it returns [0, 300, 1, 300]

  @top_p.honoured
  Scenario: A p below 1 forbids tokens
    When top_p is given
      | input  | value        |
      | logits | [0, 3, 1, 2] |
      | p      | 0.6          |
    Then it returns [-inf, 3, -inf, -inf]

  @draw.inverse_of_the_cumulative
  Scenario Outline: The first id whose cumulative probability is above u is drawn
    When draw is given
      | input         | value               |
      | probabilities | [0.25, 0.5, 0.25]   |
      | u             | <u>                 |
    Then it returns <id>

    Examples:
      | u     | id  |
      | 0     | [0] |
      | 0.125 | [0] |
      | 0.25  | [1] |
      | 0.5   | [1] |
      | 0.75  | [2] |

  @draw.inverse_of_the_cumulative
  Scenario: Parts that do not sum to 1 are shares of their sum
    Of 1, 2 and 1 the second reaches from a quarter to three quarters.

    When draw is given
      | input         | value     |
      | probabilities | [1, 2, 1] |
      | u             | 0.5       |
    Then it returns [1]

  @draw.inverse_of_the_cumulative
  Scenario: Small probabilities are not lost in the sum
    Four times 5e-8 is 2e-7: half of it is above what u leaves, 1.2e-7, after the second.

    When draw is given
      | input         | value                                                |
      | probabilities | [1, 0.00000005, 0.00000005, 0.00000005, 0.00000005]  |
      | u             | 0.99999988                                           |
    Then it returns [2]

  @draw.depends_on_u
  Scenario: An unlikely token is drawn where u says so
    When draw is given
      | input         | value             |
      | probabilities | [0.125, 0.75, 0.125] |
      | u             | 0.9375            |
    Then it returns [2]
