"""Words of four languages for generated lines, and the spelling and abbreviations of old print."""

import re
import unicodedata
from functools import lru_cache

import numpy as np

from graphkd.synthesis.styles import chance
from graphkd.synthesis.words import vocabulary

_FRENCH = (
    "de la le et les des à en que il un qui une est pour dans du par au on se pas ne sur ce plus "
    "son sa ses avec elle nous vous ils mais comme tout leur cette être même sans aux dont où "
    "si bien fait peu très après encore était été avoir deux aussi autre ces entre grand jour "
    "homme temps monde chose vie jamais toujours père mère frère fille roi reine ville pays terre "
    "mer ciel feu eau main tête cœur œil yeux âme sœur nœud vœu œuvre bœuf mœurs manœuvre lieu "
    "guerre paix loi foi droit état société pensée vérité beauté bonté année journée armée "
    "entrée idée affaire lettre livre page chapitre dépôt hôtel hôpital forêt fête bête tête "
    "maître connaître paraître plaît goût août coût sûr mûr dû reçu reçoit leçon façon garçon "
    "français française ça déjà voilà là delà procès succès accès près progrès règle siège "
    "première dernière manière rivière lumière prière misère caractère premier dernier général "
    "général naïf haïr maïs Noël aiguë ambiguë île dîner abîme âge pâle théâtre bâtiment château "
    "gâteau rôle côté côte drôle fantôme symptôme flûte brûler août naître chaîne fraîche "
    "j'ai l'on d'un d'une qu'il qu'elle n'est c'est s'il m'a t'en l'homme l'amour d'or aujourd'hui "
    "jusqu'à lorsqu'on quelqu'un l'été l'hiver d'abord n'était mal belle beau nouveau vieux jeune "
    "petit grande bon bonne haut bas long court fort doux cher pauvre riche seul triste heureux "
    "parler dire faire voir venir aller prendre donner mettre savoir vouloir pouvoir devoir "
    "croire tenir trouver laisser passer porter perdre rendre sortir vivre mourir naître aimer "
    "porta parla donna trouva laissa vint prit fit dit fut eut mit vit parut reçut mourut "
    "aurait serait ferait disait faisait venait tenait avait allait voulait pouvait devait "
    "étaient avaient faisaient soient puissent eussent fussent numéro franc francs sous livres "
    "article pièce pièces brevet moteur machine appareil système procédé fabrication voiture "
    "chemin chauffage éclairage électrique mécanique dispositif perfectionnement perfectionnements"
)
_LATIN = (
    "et in est non ad ut cum quod qui quae si sed ex per de a ab esse hoc sunt etiam aut nec ne "
    "enim autem quam quidem atque ac nam tamen ita iam sic ille illa illud ipse ipsa eius eorum "
    "quibus omnes omnia omnibus deus dei deo deum dominus domini rex regis regem populus populi "
    "terra terrae mare maris caelum caeli aqua ignis homo hominis hominum homines corpus corporis "
    "anima animae vita vitae mors mortis bellum belli pax pacis urbs urbis civitas civitatis "
    "tempus temporis dies annus anni nox noctis manus oculus oculi caput capitis cor cordis verbum "
    "verba liber libri littera litterae scientia sapientia virtus virtutis fortuna gloria gratia "
    "natura naturae causa ratio rationis lex legis ius iuris pars partis genus generis species "
    "locus loci via viae magnus magna magnum bonus bona malus longus brevis altus novus vetus "
    "primus secundus tertius quartus unus duo tres multi multa pauci facere facit fecit dicere "
    "dicit dixit videre videt venire venit habere habet dare dedit ponere posuit mittere misit "
    "scribere scripsit legere amare amat vincere vicit mundi mundo orbis saeculi saecula semper "
    "nunc tunc inter super sub ante post contra propter sine pro quoque igitur ergo vero quippe "
    "squamis radiis pinnarum capite tenuissimi caudae rostro pedes digiti alis collo dorso ventre "
    "albus niger ruber fuscus cinereus flavus viridis foliis floribus caule radice æquor æther "
    "cæli præter quæ hæc prælium fœdus pœna"
)
_GERMAN = (
    "und der die das in den von zu mit sich des auf für ist im dem nicht ein eine als auch es an "
    "werden aus er hat daß dass sie nach wird bei einer um am sind noch wie einem über einen so "
    "zum war haben nur oder aber vor zur bis mehr durch man sein wurde sei Jahr Jahre Jahren Zeit "
    "Stadt Land Haus Straße Größe Maß Fuß Gruß groß weiß heiß schließlich außerdem Mädchen Männer "
    "Häuser Bücher Länder Städte Wörter Häfen Räume Bäume Träume Gebäude Gebühr Gefühl Glück Stück "
    "Brücke Rücken Küche Tür Zürich München Köln Österreich Müller Schröder Bürger Bürgermeister "
    "Menü Büro Öl Öffnung Übung Übersicht Änderung Ämter Ärzte schön schöne hören gehören können "
    "könnte möchte müssen müßte dürfen führen führte fünf zwölf früh früher spät später während "
    "gegenüber natürlich möglich nötig höchst König Königin Königreich Völker Körper Löwe Vögel "
    "Geschichte Gesellschaft Wissenschaft Wirtschaft Regierung Zeitung Rechnung Lieferung Betrag "
    "Summe Datum Nummer Seite Kapitel Abbildung Tabelle Ergebnis Versuch Mensch Kinder Frau Herr "
    "Vater Mutter Bruder Schwester Freund Arbeit Wasser Feuer Erde Luft Licht Nacht Morgen Abend"
)
_OTHER = (
    "señor mañana niño año España también más está después según acción número público único "
    "razón corazón país día río fácil ¿qué ¿cómo así qual não são então coração informação você "
    "três português relação città perché più così università però qualità virtù già è né libertà "
    "über naïve façade résumé café crème brûlée déjà-vu Ångström smörgås på från är och för må "
    "være gør år også część święty łódź książka które żeby być są tylko příliš česky který město "
    "řeka můj už než ještě škola životní győr idő szép két után őr gümüş çok güneş için"
)
_MODERN = {"french": _FRENCH, "latin": _LATIN, "german": _GERMAN, "other": _OTHER}
LANGUAGES = ("english", *_MODERN)


@lru_cache(maxsize=8)
def lexicon(language: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Words of a language, common ones first, and their cumulative frequencies (ending at 1).

    The real words are followed by 1,500 made-up ones with the same sequences of letters, so that a
    reader cannot learn the list by heart.
    """
    if language == "english":
        real = list(vocabulary()[0])
    else:
        real = list(dict.fromkeys(_MODERN[language].split()))
    made = _invented(real, 1500)
    weights = 1.0 / (np.arange(len(real)) + 12.0)
    # A third of all words is made up.
    weights = np.concatenate([weights / weights.sum() * 2, np.full(len(made), 1 / len(made))])
    return (*real, *made), np.cumsum(weights) / weights.sum()


def _invented(real: list[str], count: int) -> list[str]:
    """Made-up words from the letter triples of real ones."""
    follow: dict[str, list[str]] = {}
    for word in real:
        padded = f"^^{word}$"
        for at in range(len(padded) - 2):
            follow.setdefault(padded[at : at + 2], []).append(padded[at + 2])
    rng, made = np.random.default_rng(20), []
    while len(made) < count:
        word = "^^"
        while len(word) < 17 and not word.endswith("$"):
            letters = follow[word[-2:]]
            word += letters[int(rng.random() * len(letters))]
        if word.endswith("$") and len(word) > 4:
            made.append(word[2:-1])
    return made


class OldSpelling:
    """How one old book spells: accents, long s, u for v, i for j, tildes, short signs."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.accents = chance(rng, 0.6)
        self.long_s = chance(rng, 0.8)
        self.letters = chance(rng, 0.6)
        self.ampersand = "&" if chance(rng, 0.75) else "⁊"
        self.tildes = 0.35 if chance(rng, 0.4) else 0.0
        self.signs = chance(rng, 0.15)

    def word(self, word: str) -> str:
        """A word in this spelling, in NFC."""
        if word.lower() == "et":
            return self.ampersand
        if not self.accents:
            word = unicodedata.normalize("NFD", word).encode("ascii", "ignore").decode() or word
        if self.letters:
            word = re.sub("^u", "v", re.sub("(?<=[a-zé])v", "u", word))
            word = re.sub("^j", "i", re.sub("^J", "I", re.sub("^U", "V", word)))
        if self.signs:
            word = re.sub("^p[ea]r", "ꝑ", re.sub("^pro", "ꝓ", re.sub("us$", "ꝰ", word)))
            word = re.sub("^qu[ei]$", "q\u0303", re.sub("^con(?=[a-z])", "ꝯ", word))
        if self.tildes and chance(self.rng, self.tildes):
            word = re.sub("([aeiou])[nm](?=[bcdfgpqtſs])", "\\1\u0303", word, count=1)
        if self.long_s:
            word = re.sub("s(?=[a-zà-ÿœ\u0303])", "ſ", word)
        return unicodedata.normalize("NFC", word)
