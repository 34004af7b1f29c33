"""Published figures to stand beside ours, as their papers have them."""

from typing import NamedTuple


class Published(NamedTuple):
    """One figure."""

    model: str
    """With what changes the figure: sizes, training rule, how grey pixels were made binary."""
    value: float
    how: str
    """How it was found: exact, an estimate, or a bound."""
    source: str
    """The paper or program, with the table or page."""
    beside: tuple[str, ...] = ()
    """Models of ours that reach for it, by their names in the comparison, or by the part of them
    before the settings that are changed."""
    measure: str = "log_likelihood"
    """`log_likelihood`: nats per test image, higher is better; `parzen`: the same of a window;
    `test_error`: percent of the test images, lower is better."""


_AIS = "AIS"
_REVERSE = "reverse AIS"
_EXACT = "exact"
_WEIGHTED = "importance-weighted bound, 5,000 samples"
_SALAKHUTDINOV = (
    'Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", ICML 2008'
)
_MURRAY = (
    'Murray and Salakhutdinov, "Evaluating probabilities under high-dimensional latent variable '
    'models", NIPS 2008, after the DBN of the ICML paper'
)
_BURDA = 'Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, table 1'
_DBM = (
    'Salakhutdinov and Hinton, "Deep Boltzmann machines", AISTATS 2009, as '
    "github.com/yell/boltzmann-machines quotes it"
)
_GOODFELLOW = 'Goodfellow et al., "Generative adversarial nets", NIPS 2014, table 1'
_PYDEEP = "Melchior, PyDeep, github.com/MelJan/PyDeep, tutorial RBM_MNIST_"
_SMALL, _BIG = f"{_PYDEEP}small, one run", f"{_PYDEEP}big, one run"

_VAE = "VAE, 784-200-200-50, tanh, k = "

_THRESHOLDED = "RBM, 500 hidden, centred PCD, thresholded"
_PARZEN = "Parzen window on samples"
_FAST = (
    'Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural '
    "Computation 2006"
)
_TALK = "Hinton, talk at Microsoft Research, 2010, slide 190"
_LABELLED = "DBN, 784-500-500-2000 with label units"
_FREE_ENERGY, _BACKPROP = "free energy of the labels", "softmax, backprop from the greedy DBN"

_MNIST = (
    Published("RBM, 500 hidden, CD-25", -86.34, _AIS, _SALAKHUTDINOV, ("rbm-cd25", "rbm-pcd500")),
    Published("RBM, 16 hidden, PCD, thresholded", -149.05, _EXACT, _SMALL, ("rbm-pcd16",)),
    Published(
        *("RBM, 16 hidden, centred PCD, thresholded", -142.56, _EXACT, _SMALL),
        beside=("rbm-pcd16_centred",),
    ),
    Published(_THRESHOLDED, -84.86, _AIS, _BIG),
    Published(_THRESHOLDED, -96.61, _REVERSE, _BIG),
    Published(
        *("mixture of 500 Bernoullis", -137.64, _EXACT, _SALAKHUTDINOV),
        beside=("mixture of Bernoullis",),
    ),
    Published("DBN, 2 hidden layers", -84.55, "estimate, AIS on top", _MURRAY, ("dbn-two500",)),
    Published(
        *("DBM, 784-500-1000", -84.62, "variational bound, AIS", _DBM),
        beside=("dbm-salakhutdinov", "dbm-centred"),
    ),
    Published(f"{_VAE}1", -86.76, _WEIGHTED, _BURDA, ("vae-burda",)),
    Published(f"{_VAE}50", -86.35, _WEIGHTED, _BURDA),
    Published(
        *("IWAE, 784-200-200-50, tanh, k = 5", -85.54, _WEIGHTED, _BURDA),
        beside=("vae-burda, num samples 5, objective iwae",),
    ),
    Published("IWAE, 784-200-200-50, tanh, k = 50", -84.78, _WEIGHTED, _BURDA),
    Published("DBN", 138.0, _PARZEN, _GOODFELLOW, measure="parzen"),
    Published("GAN", 225.0, _PARZEN, _GOODFELLOW, measure="parzen"),
    Published(
        *(f"{_LABELLED}, up-down", 1.25, _FREE_ENERGY, f"{_FAST}, section 1"), measure="test_error"
    ),
    Published(_LABELLED, 1.15, _BACKPROP, _TALK, measure="test_error"),
)

FIGURES = {"mnist": _MNIST}
"""By data set; unless a model has thresholded pixels, they are drawn from the grey values."""
