"""Published figures to stand beside ours, as their papers have them."""

from typing import NamedTuple


class Published(NamedTuple):
    """One figure."""

    model: str
    """With what changes the figure: sizes, training rule, how grey pixels were made binary."""
    measure: str
    """`log_likelihood`: nats per test image, higher is better; `parzen`: the same of a window."""
    value: float
    how: str
    """How it was found: exact, an estimate, or a bound."""
    source: str
    """The paper or program, with the table or page."""
    beside: tuple[str, ...] = ()
    """Models of ours that reach for it, by their names in the comparison."""


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
_GOODFELLOW = 'Goodfellow et al., "Generative adversarial nets", NIPS 2014, table 1'
_PYDEEP = "Melchior, PyDeep, github.com/MelJan/PyDeep, tutorial RBM_MNIST_"
_SMALL, _BIG = f"{_PYDEEP}small, one run", f"{_PYDEEP}big, one run"

_VAE = "VAE, 784-200-200-50, tanh, k = "

_MNIST = (
    Published(
        *("RBM, 500 hidden, CD-25", "log_likelihood", -86.34, _AIS, _SALAKHUTDINOV),
        beside=("rbm-cd25", "rbm-pcd500"),
    ),
    Published(
        *("RBM, 16 hidden, PCD, thresholded", "log_likelihood", -149.05, _EXACT, _SMALL),
        beside=("rbm-pcd16",),
    ),
    Published(
        *("RBM, 16 hidden, centred PCD, thresholded", "log_likelihood", -142.56, _EXACT, _SMALL),
        beside=("rbm-pcd16_centred",),
    ),
    Published("RBM, 500 hidden, centred PCD, thresholded", "log_likelihood", -84.86, _AIS, _BIG),
    Published(
        "RBM, 500 hidden, centred PCD, thresholded", "log_likelihood", -96.61, _REVERSE, _BIG
    ),
    Published(
        *("mixture of 500 Bernoullis", "log_likelihood", -137.64, _EXACT, _SALAKHUTDINOV),
        beside=("mixture of Bernoullis",),
    ),
    Published(
        *("DBN, 2 hidden layers", "log_likelihood", -84.55, "estimate, AIS on top", _MURRAY),
        beside=("dbn-two500",),
    ),
    Published(
        *(f"{_VAE}1", "log_likelihood", -86.76, _WEIGHTED, _BURDA),
        beside=("vae-burda",),
    ),
    Published(f"{_VAE}50", "log_likelihood", -86.35, _WEIGHTED, _BURDA),
    Published("IWAE, 784-200-200-50, tanh, k = 50", "log_likelihood", -84.78, _WEIGHTED, _BURDA),
    Published("DBN", "parzen", 138.0, "Parzen window on samples", _GOODFELLOW),
    Published("GAN", "parzen", 225.0, "Parzen window on samples", _GOODFELLOW),
)

FIGURES = {"mnist": _MNIST}
"""By data set; unless a model has thresholded pixels, they are drawn from the grey values."""
