@reference
Feature: Others computed the same

  The tensors were recorded from PyTorch's own modules, in float64.

  @gpt2.others_agree @of_the_oracle
  Scenario: The oracle gives the tensors that others recorded
    Given tensors of this model that others recorded
    When the oracle reads the same ids
    Then every element of every tensor is equal to 1e-9 of its largest number

  @gpt2.others_agree
  Scenario: The engine gives the logits that others recorded
    Given tensors of this model that others recorded
    When the model reads the same ids
    Then the logits are equal to 1e-5 of the largest, or, in 16 bits, to their tolerance

  @gpt2.others_agree @of_the_oracle
  Scenario: Two recordings of the same prompt are one
    Given tensors of this model that others recorded
    When they are laid beside the other recordings of the same ids
    Then no two of them are further apart than rounding
