"""The words of the simulated world: topics in groups, in four languages.

Words are real, so that a text encoder trained on real language places items of one topic near
each other. The first word of a line names the topic in that language.
"""

from dataclasses import dataclass
from functools import cache

LANGUAGES = ("en", "de", "es", "fr")

_TEXT = """
# science
astronomy telescope galaxy planets nebula comets stargazing
Astronomie Teleskop Galaxie Planeten Sterne
astronomía telescopio galaxia planetas estrellas
astronomie télescope galaxie planètes étoiles
physics quantum relativity particles gravity entropy photons
Physik Quanten Relativität Teilchen Schwerkraft
física cuántica relatividad partículas gravedad
physique quantique relativité particules gravité
biology evolution genetics cells microbes ecology fossils
Biologie Evolution Genetik Zellen Mikroben
biología evolución genética células microbios
biologie évolution génétique cellules microbes
mathematics geometry algebra primes theorems probability infinity
Mathematik Geometrie Algebra Primzahlen Wahrscheinlichkeit
matemáticas geometría álgebra primos probabilidad
mathématiques géométrie algèbre nombres probabilité
medicine surgeons anatomy vaccines epidemics hospitals diagnosis
Medizin Chirurgie Anatomie Impfstoffe Krankenhaus
medicina cirugía anatomía vacunas hospital
médecine chirurgie anatomie vaccins hôpital
# mind
stoicism Seneca virtue Epictetus serenity discipline philosophy
Stoizismus Seneca Tugend Gelassenheit Philosophie
estoicismo Séneca virtud serenidad filosofía
stoïcisme Sénèque vertu sérénité philosophie
psychology memory emotions behaviour personality habits therapy
Psychologie Gedächtnis Gefühle Verhalten Persönlichkeit
psicología memoria emociones conducta personalidad
psychologie mémoire émotions comportement personnalité
meditation mindfulness breathing stillness yoga calm awareness
Meditation Achtsamkeit Atem Stille Ruhe
meditación atención respiración silencio calma
méditation respiration silence calme conscience
parenting toddlers teenagers newborns family schooling bedtime
Erziehung Kinder Jugendliche Familie Schule
crianza niños adolescentes familia escuela
parentalité enfants adolescents famille école
relationships dating marriage romance intimacy divorce friendship
Beziehungen Liebe Ehe Freundschaft Partnerschaft
relaciones amor matrimonio amistad pareja
relations amour mariage amitié couple
# crime
murder detective homicide suspects forensics alibi evidence
Mord Ermittler Verdächtige Spuren Tatort
asesinato detective sospechosos pruebas crimen
meurtre détective suspects preuves crime
heists robbery thieves vault burglars diamonds smuggling
Raub Diebe Tresor Einbrecher Schmuggel
robos ladrones bóveda atraco contrabando
braquages voleurs coffre cambriolage contrebande
espionage spies agents codebreakers embassy defectors intelligence
Spionage Spione Agenten Geheimdienst Botschaft
espionaje espías agentes inteligencia embajada
espionnage espions agents renseignement ambassade
justice courtroom lawyers verdict jury trials appeals
Justiz Gericht Anwälte Urteil Prozess
justicia tribunal abogados veredicto juicio
justice tribunal avocats verdict procès
mafia gangsters cartel mobsters racketeering syndicate bosses
Mafia Gangster Kartell Bosse Unterwelt
mafia gánsteres cártel jefes crimen
mafia gangsters cartel parrains pègre
# fiction
dragons wizards elves kingdoms swords sorcery prophecy
Drachen Zauberer Elfen Königreich Schwerter
dragones magos elfos reino espadas
dragons sorciers elfes royaume épées
spaceships robots aliens androids starfleet cyberpunk colonies
Raumschiffe Roboter Außerirdische Androiden Kolonien
naves robots extraterrestres androides colonias
vaisseaux robots extraterrestres androïdes colonies
vampires ghosts haunted werewolves horror monsters nightmares
Vampire Geister Spuk Werwölfe Albträume
vampiros fantasmas hombres-lobo terror pesadillas
vampires fantômes loups-garous horreur cauchemars
regency duchess ballroom governess courtship manor heiress
Adel Herzogin Ballsaal Gouvernante Erbin
nobleza duquesa baile institutriz heredera
noblesse duchesse bal gouvernante héritière
pirates treasure sailors galleons island mutiny voyage
Piraten Schatz Seeleute Insel Meuterei
piratas tesoro marineros isla motín
pirates trésor marins île mutinerie
# history
Romans emperors legions Caesar gladiators senate aqueducts
Römer Kaiser Legionen Cäsar Gladiatoren
romanos emperadores legiones César gladiadores
Romains empereurs légions César gladiateurs
Vikings longships sagas Norse raiders runes fjords
Wikinger Langschiffe Sagas Runen Nordmänner
vikingos sagas runas nórdicos fiordos
Vikings sagas runes nordiques drakkars
warfare battles generals trenches tanks soldiers strategy
Krieg Schlachten Generäle Soldaten Strategie
guerra batallas generales soldados estrategia
guerre batailles généraux soldats stratégie
archaeology pharaohs tombs ruins excavation pyramids artefacts
Archäologie Pharaonen Gräber Ruinen Pyramiden
arqueología faraones tumbas ruinas pirámides
archéologie pharaons tombeaux ruines pyramides
politics elections senators democracy parliament campaigns diplomacy
Politik Wahlen Demokratie Parlament Kanzler
política elecciones democracia parlamento senado
politique élections démocratie parlement sénat
# business
investing stocks dividends portfolio bonds markets shares
Geldanlage Aktien Dividenden Anleihen Börse
inversión acciones dividendos bonos bolsa
investissement actions dividendes obligations bourse
startups founders venture entrepreneurs unicorns pitching growth
Gründer Startups Unternehmer Wagniskapital Wachstum
emprendedores startups fundadores capital crecimiento
entrepreneurs startups fondateurs capital croissance
leadership managers teams negotiation coaching executives delegation
Führung Manager Teams Verhandlung Vorstand
liderazgo gerentes equipos negociación directivos
leadership managers équipes négociation dirigeants
marketing brands advertising customers copywriting slogans retail
Marketing Marken Werbung Kunden Handel
marketing marcas publicidad clientes comercio
marketing marques publicité clients commerce
programming software algorithms compilers hackers databases python
Programmieren Software Algorithmen Hacker Datenbanken
programación software algoritmos hackers datos
programmation logiciel algorithmes hackers données
# home
gardening tomatoes seeds compost pruning roses orchards
Garten Tomaten Samen Kompost Rosen
jardinería tomates semillas compost rosas
jardinage tomates graines compost roses
baking sourdough bread pastry cakes ovens dough
Backen Sauerteig Brot Gebäck Kuchen
repostería pan masa pasteles horno
boulangerie levain pain pâtisserie gâteaux
wine vineyards grapes tasting sommelier cellars Burgundy
Wein Weinberge Trauben Verkostung Keller
vino viñedos uvas cata bodega
vin vignobles raisins dégustation cave
knitting yarn crochet wool sweaters needles sewing
Stricken Garn Häkeln Wolle Nadeln
tejer lana ganchillo hilo agujas
tricot laine crochet fil aiguilles
dogs puppies kennels leashes obedience terriers veterinarians
Hunde Welpen Leine Gehorsam Tierarzt
perros cachorros correa obediencia veterinario
chiens chiots laisse obéissance vétérinaire
# outside
football goals strikers penalties stadium league goalkeepers
Fußball Tore Stürmer Elfmeter Stadion
fútbol goles delanteros penaltis estadio
football buts attaquants penaltys stade
running marathon pace sprinting trails endurance joggers
Laufen Marathon Tempo Ausdauer Jogging
correr maratón ritmo resistencia senderos
course marathon rythme endurance sentiers
mountaineering summit climbers glaciers ropes avalanche Everest
Bergsteigen Gipfel Kletterer Gletscher Lawine
montañismo cumbre escaladores glaciares avalancha
alpinisme sommet grimpeurs glaciers avalanche
sailing yachts harbour anchors regatta ocean winds
Segeln Yachten Hafen Anker Regatta
navegación veleros puerto anclas regata
voile voiliers port ancres régate
cycling bicycles pedals peloton racing gears velodrome
Radfahren Fahrräder Pedale Rennen Etappe
ciclismo bicicletas pedales carrera etapa
cyclisme vélos pédales course étape
"""

GENERIC = {
    "en": ("story", "voices", "journey", "season", "secrets", "notes", "letters", "people"),
    "de": ("Geschichte", "Stimmen", "Reise", "Geheimnisse", "Briefe", "Stunden", "Menschen"),
    "es": ("historia", "voces", "viaje", "secretos", "cartas", "horas", "gente"),
    "fr": ("histoire", "voix", "voyage", "secrets", "lettres", "heures", "gens"),
}
"""Words that tell nothing about a topic, by language."""

TITLES = {
    "en": (
        "The {0} of {1}",
        "{0} and {1}",
        "On {0}",
        "A Year of {0}",
        "{0}: {1} and {2}",
        "Letters on {0}",
        "The {0} Hour",
        "Beyond {0} and {1}",
    ),
    "de": ("{0} und {1}", "Die Welt: {0}", "{0}: {1} und {2}", "Alles über {0}", "Mehr {0}"),
    "es": ("{0} y {1}", "La hora de {0}", "{0}: {1} y {2}", "Todo sobre {0}", "Más {0}"),
    "fr": ("{0} et {1}", "L’heure: {0}", "{0}: {1} et {2}", "Tout sur {0}", "Encore {0}"),
}


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic: the genre (group) it belongs to and its words by language."""

    genre: str
    words: dict[str, tuple[str, ...]]


@cache
def topics() -> tuple[Topic, ...]:
    """All topics, those of one genre side by side, the same number in every genre."""
    found: list[Topic] = []
    genre, lines = "", list[tuple[str, ...]]()
    for line in _TEXT.strip().splitlines():
        if line.startswith("# "):
            genre = line[2:]
            continue
        lines.append(tuple(line.split()))
        if len(lines) == len(LANGUAGES):
            found.append(Topic(genre=genre, words=dict(zip(LANGUAGES, lines, strict=True))))
            lines = []
    return tuple(found)


def genres() -> tuple[str, ...]:
    """Names of the genres, in the order of `topics`."""
    return tuple(dict.fromkeys(topic.genre for topic in topics()))
