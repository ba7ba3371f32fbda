Feature: Activation of the MLP

  Numbers by hand, or of published tables of tanh, erf and exp, to seven decimals.

  @activation.gelu_new_is_the_tanh_form
  Scenario: gelu_new is the tanh form
    When activation is given
      | input               | value             |
      | x                   | [[1], [-2], [3]]  |
      | activation_function | gelu_new          |
    Then it returns [[0.8411920], [-0.0454023], [2.9963626]]

  @activation.gelu_is_the_erf_form
  Scenario: gelu is the erf form
    When activation is given
      | input               | value             |
      | x                   | [[1], [-2], [3]]  |
      | activation_function | gelu              |
    Then it returns [[0.8413447], [-0.0455003], [2.9959503]]

  @activation.gelu_is_the_erf_form
  Scenario: Far from 0 gelu is x, or nothing
    Beyond 5.5 deviations a normal number lies with a chance of 1.9e-8.

    When activation is given
      | input               | value                       |
      | x                   | [[5.5], [-5.5], [8], [-8]]  |
      | activation_function | gelu                        |
    Then it returns [[5.4999999], [-0.0000001], [8], [0]]

  @activation.gelu_fast_is_the_tanh_form
  Scenario: gelu_fast is the tanh form
    When activation is given
      | input               | value             |
      | x                   | [[1], [-2], [3]]  |
      | activation_function | gelu_fast         |
    Then it returns [[0.8411920], [-0.0454023], [2.9963626]]

  @activation.quick_gelu_is_a_sigmoid
  Scenario: quick_gelu is x times the sigmoid of 1.702 x
    When activation is given
      | input               | value             |
      | x                   | [[1], [-2], [3]]  |
      | activation_function | quick_gelu        |
    Then it returns [[1 / (1 + exp(-1.702))], [-2 / (1 + exp(3.404))], [3 / (1 + exp(-5.106))]]

  @activation.relu_cuts_at_zero
  Scenario: relu cuts at zero
    When activation is given
      | input               | value               |
      | x                   | [[1.5], [-2], [0]]  |
      | activation_function | relu                |
    Then it returns [[1.5], [0], [0]]

  @activation.silu_is_a_sigmoid
  Scenario: silu is x times its sigmoid
    When activation is given
      | input               | value             |
      | x                   | [[1], [-2], [3]]  |
      | activation_function | silu              |
    Then it returns [[1 / (1 + exp(-1))], [-2 / (1 + exp(2))], [3 / (1 + exp(-3))]]

  @activation.tanh_is_tanh
  Scenario: tanh is tanh
    When activation is given
      | input               | value             |
      | x                   | [[1], [-2], [0]]  |
      | activation_function | tanh              |
    Then it returns [[0.7615942], [-0.9640276], [0]]
