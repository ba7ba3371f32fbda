Feature: Feed-forward network

  @mlp.activation_of_the_config
  Scenario: GPT-2's activation is the tanh form of GELU
    When mlp is given
      | input       | value                              |
      | x           | [[1, 0], [0, 1], [1, 1]]           |
      | fc_weight   | [[1, 2, -1], [0, 1, 3]]            |
      | proj_weight | [[1, 0], [0, 1], [0, 0]]           |
    Then act is [[0.8411920, 1.9545977, -0.1588080], [0, 0.8411920, 2.9963626], [0.8411920, 2.9963626, 1.9545977]]

  @mlp.activation_of_the_config
  Scenario: Another activation is used where the config names it
    When mlp is given
      | input               | value                              |
      | x                   | [[1, 0], [0, 1], [1, 1]]           |
      | fc_weight           | [[1, 2, -1], [0, 1, 3]]            |
      | proj_weight         | [[1, 2], [3, 4], [5, 6]]           |
      | activation_function | relu                               |
    Then act is [[1, 2, 0], [0, 1, 3], [1, 3, 2]]

  @mlp.stored_in_out
  Scenario: Both weights are multiplied from the left
    When mlp is given
      | input               | value                              |
      | x                   | [[1, 0], [0, 1], [1, 1]]           |
      | fc_weight           | [[1, 2, -1], [0, 1, 3]]            |
      | proj_weight         | [[1, 2], [3, 4], [5, 6]]           |
      | activation_function | relu                               |
    Then fc is [[1, 2, -1], [0, 1, 3], [1, 3, 2]]
    And out is [[7, 10], [18, 22], [20, 26]]

  @mlp.biases_added
  Scenario: Both biases are added
    When mlp is given
      | input               | value                              |
      | x                   | [[1, 0], [0, 1], [1, 1]]           |
      | fc_weight           | [[1, 2, -1], [0, 1, 3]]            |
      | fc_bias             | [1, 0, 1]                          |
      | proj_weight         | [[1, 2], [3, 4], [5, 6]]           |
      | proj_bias           | [100, 200]                         |
      | activation_function | relu                               |
    Then fc is [[2, 2, 0], [1, 1, 4], [2, 3, 3]]
    And out is [[108, 212], [124, 230], [126, 234]]

  @mlp.activation_of_the_config
  Scenario: Every activation of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.mlp.act follow the equations

  @mlp.biases_added @mlp.stored_in_out
  Scenario: Every projection of the model follows the equations
    When the model reads a prompt, a chunk and single tokens
    Then h.N.mlp.fc and h.N.mlp.out follow the equations
