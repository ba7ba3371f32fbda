Feature: Configuration

  Background:
    Given a config.json with
      | key         | value |
      | vocab_size  | 300   |
      | n_positions | 16    |
      | n_embd      | 12    |
      | n_head      | 2     |
      | n_layer     | 3     |

  @configuration.value_of_the_file
  Scenario: The config of the model on trial
    When the model on trial is asked for its config
    Then each setting is what the specs make of its config.json

  @configuration.value_of_the_file
  Scenario: No value is the default
    Given the config.json says n_inner = 20
    And the config.json says layer_norm_epsilon = 0.001
    And the config.json says activation_function = "relu"
    And the config.json says scale_attn_weights = false
    And the config.json says scale_attn_by_inverse_layer_idx = true
    And the config.json says tie_word_embeddings = false
    When the config.json is read
    Then the config has
      | setting                         | value  |
      | n_vocab                         | 300    |
      | n_ctx                           | 16     |
      | n_embd                          | 12     |
      | n_head                          | 2      |
      | head_dim                        | 6      |
      | n_layer                         | 3      |
      | n_inner                         | 20     |
      | layer_norm_epsilon              | 0.001  |
      | activation_function             | "relu" |
      | scale_attn_weights              | false  |
      | scale_attn_by_inverse_layer_idx | true   |
      | tie_word_embeddings             | false  |

  @configuration.defaults_of_hugging_face
  Scenario: Only the sizes are there
    When the config.json is read
    Then the config has
      | setting                         | value      |
      | n_inner                         | 48         |
      | layer_norm_epsilon              | 0.00001    |
      | activation_function             | "gelu_new" |
      | scale_attn_weights              | true       |
      | scale_attn_by_inverse_layer_idx | false      |
      | tie_word_embeddings             | true       |

  @configuration.sizes_are_never_guessed
  Scenario Outline: A config without <size> is refused
    Given the config.json says nothing of <size>
    When the config.json is read
    Then the config.json is refused, and the message names <size>

    Examples:
      | size        |
      | vocab_size  |
      | n_positions |
      | n_embd      |
      | n_head      |
      | n_layer     |

  @configuration.both_names_of_the_context
  Scenario: The older name stands alone
    Given the config.json says nothing of n_positions
    And the config.json says n_ctx = 24
    When the config.json is read
    Then the config has n_ctx = 24

  @configuration.both_names_of_the_context
  Scenario: Two names that contradict each other are refused
    Given the config.json says n_ctx = 24
    When the config.json is read
    Then the config.json is refused, and the message names n_positions

  @configuration.width_of_the_mlp
  Scenario Outline: n_inner is <value>
    Given the config.json says n_inner = <value>
    When the config.json is read
    Then the config has n_inner = <width>

    Examples:
      | value | width |
      | 20    | 20    |
      | null  | 48    |

  @configuration.activation_is_known
  Scenario: An activation that is not known is refused
    Given the config.json says activation_function = "geglu"
    When the config.json is read
    Then the config.json is refused, and the message names activation_function

  @configuration.heads_share_equally
  Scenario: Five heads cannot share a width of 12
    Given the config.json says n_head = 5
    When the config.json is read
    Then the config.json is refused, and the message names n_head

  @configuration.only_gpt2
  Scenario: The config of another model is refused
    Given the config.json says model_type = "gpt_neo"
    When the config.json is read
    Then the config.json is refused, and the message names model_type
