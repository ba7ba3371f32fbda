Feature: Layer normalisation

  @layer_norm.population_variance
  Scenario: The squares of four numbers are divided by four
    The mean of 1, 3, 5, 7 is 4, the squares are 9, 1, 1, 9, and their mean is 5.

    When layer_norm is given x = [1, 3, 5, 7]
    Then it returns [-3 / sqrt(5.00001), -1 / sqrt(5.00001), 1 / sqrt(5.00001), 3 / sqrt(5.00001)]

  @layer_norm.centred
  Scenario: Numbers far from 0 are centred first
    When layer_norm is given x = [99, 100, 104]
    Then it returns [-2 / sqrt(14 / 3 + 0.00001), -1 / sqrt(14 / 3 + 0.00001), 3 / sqrt(14 / 3 + 0.00001)]

  @layer_norm.epsilon_inside_root
  Scenario: Epsilon damps a row whose variance is smaller than epsilon
    When layer_norm is given x = [-0.001, 0.001]
    Then it returns [-0.301511, 0.301511]

  @layer_norm.epsilon_of_the_config
  Scenario: A larger epsilon in the config damps more
    The variance is 1e-6: with an epsilon of 1e-3 the root is that of 0.001001.

    When layer_norm is given
      | input              | value           |
      | x                  | [-0.001, 0.001] |
      | layer_norm_epsilon | 0.001           |
    Then it returns [-0.031607, 0.031607]

  @layer_norm.epsilon_of_the_config
  Scenario: Without a word in the config epsilon is 1e-5
    The variance is 1e-8, far below epsilon: 0.0001 / sqrt(1.001e-5).

    When layer_norm is given x = [-0.0001, 0.0001]
    Then it returns [-0.031607, 0.031607]

  @layer_norm.gain_then_bias
  Scenario: The gain multiplies before the bias is added
    When layer_norm is given
      | input  | value    |
      | x      | [-2, 2]  |
      | weight | [2, 3]   |
      | bias   | [10, 20] |
    Then it returns [10 - 4 / sqrt(4.00001), 20 + 6 / sqrt(4.00001)]

  @layer_norm.each_position_alone
  Scenario: Each of three positions has its own mean and variance
    When layer_norm is given x = [[1, 5], [10, 30], [-5, 5]]
    Then it returns [[-2 / sqrt(4.00001), 2 / sqrt(4.00001)], [-10 / sqrt(100.00001), 10 / sqrt(100.00001)], [-5 / sqrt(25.00001), 5 / sqrt(25.00001)]]

  @layer_norm.each_position_alone
  Scenario: Every norm of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.ln_1, h.N.ln_2 and ln_f follow the equations
